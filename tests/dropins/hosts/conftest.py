"""These tests need the libraries that the drop-ins serve: ./dev test-dropins brings them, and sets the variable."""

import os

collect_ignore_glob = [] if "KNNSCOPE_DROPIN_TESTS" in os.environ else ["test_*.py"]
