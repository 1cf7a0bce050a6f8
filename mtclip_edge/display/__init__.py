"""What a person or a program sees: tables on a terminal, JSON lines, pages. Nothing is computed here.

Open ``formats`` first.
"""
