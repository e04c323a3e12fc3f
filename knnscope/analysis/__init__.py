"""What measurements say: statistics, the verdict, quality. Records in, records out; start with verdict.py."""
