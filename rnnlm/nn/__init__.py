"""The model as pure functions: the scan of a cell over time, layers, dropout, and the stack of them."""
