"""The functions, disturbed: each file is what `functions/` has, after `disturbed.install_in_function`."""
