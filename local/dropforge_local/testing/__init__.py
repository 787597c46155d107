"""For tests of an application on local hosts: hosts that start sooner, and waiting for what they do."""
