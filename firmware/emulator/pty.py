"""A pseudo-terminal whose other end is this program's stdin and stdout.

usage: pty.py PATH

PATH becomes a link to the terminal. It is held open here, so that it stays while nobody else has it open; what
is written while nobody reads is dropped once the kernel's buffer is full, as on a serial port.
"""
import os
import select
import sys
import tty

master, slave = os.openpty()
tty.setraw(slave)
os.set_blocking(master, False)
path = sys.argv[1]
if os.path.islink(path):
    os.unlink(path)
os.symlink(os.ttyname(slave), path)
try:
    while True:
        for ready in select.select([master, 0], [], [])[0]:
            data = os.read(ready, 4096)
            if not data:
                sys.exit()
            try:
                os.write(1 if ready == master else master, data)
            except BlockingIOError:
                pass
finally:
    os.unlink(path)
