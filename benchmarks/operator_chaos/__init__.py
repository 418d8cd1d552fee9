"""The operator under fire: killed 200 times while the cluster, the network and people do what they do; nothing may be lost, doubled or left behind.

`doomed` is the operator that dies at a given write, `proxy` the bad network, `world` the nodes and the people, `recorder` the independent witness, `verdict`
what it saw; `__main__` runs them.
"""
