"""Not the runtime's."""

VALUE = "the function's own"
