"""What a training will cost: parameters, FLOPs, memory, time and money, before it begins."""
