"""SageMaker's own serving stack, run on this machine with a trained archive, beside the local model server.

``make serving-stack`` builds what serves in the scikit-learn image from the same public packages, starts it
as root and as a user who owns nothing, with and without a network, and compares its answers with ours.
"""
