"""What a training stage will need, told before anything runs: parameters, memory, work, time."""
