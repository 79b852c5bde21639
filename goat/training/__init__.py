"""What the loop of train.py is made of."""
