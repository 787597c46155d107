"""The command line and the console: `cli` and `console` do by `actions` what people ask of a `stack`."""
