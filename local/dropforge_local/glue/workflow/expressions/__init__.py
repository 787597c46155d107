"""JSONata as Step Functions evaluates it: MiniStack's engine, held to the reference engine's answers.

https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html names JSONata 2.0.6, which
npm's ``jsonata`` is the reference of, without ``$eval``. ``make check`` compares both.
"""
