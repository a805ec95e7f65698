"""HTTP in, JSON out: is it ok?"""
