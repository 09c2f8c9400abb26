"""Drivers from reanalyses, climate models and satellites as they are downloaded."""
