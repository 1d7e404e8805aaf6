"""The functions with faults: each file is the one in `functions/`, after `disturbed.install_in_function`."""
