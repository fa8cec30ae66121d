"""What notebook cells call: where we are, install, storage, secrets, tunnels.

`environment`, `command` and `install` import on a bare Python: they run before all else is there.
"""
