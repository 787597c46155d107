"""Holds blocks to the contract, and gathers what a contract is inferred from."""
