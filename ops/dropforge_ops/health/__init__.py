"""What ``dropforge doctor`` looks at: this machine, an account, a stack, its API, a local host."""
