"""Step Functions' execution: MiniStack's interpreter of expressions and paths, with our run of the states.

Ours because MiniStack's run has no time limits of machines and heartbeats, can't be stopped in a state,
forgets everything at a crash, and swallows the errors of callback tasks.
"""
