"""What is fitted on validation films at export and only read at run time: film gate, verdicts, fusion
weight.
"""
