"""What is in a Dataset and what is written into one: names, units, time, layout, attributes."""
