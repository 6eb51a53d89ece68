"""One file a peer. A function of it makes a task ready: -> (work(n), which does n units and waits for them; facts).

`variants(device)` are the settings that the peer is tried with; the best goes into the contest. "env" of a variant is
for its process.
"""
