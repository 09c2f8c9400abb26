"""From labels to members: towers in memory, windows, loss, loops, the whole walk of training."""
