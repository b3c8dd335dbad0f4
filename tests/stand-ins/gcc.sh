#!/bin/sh
# Stands in for the one question that is asked of it: `gcc -print-file-name=FILE`.
find /usr/lib -name "${1#-print-file-name=}" | head -n 1
