#!/bin/sh
# archiver as the user of the service, with the key, which only root can read: docs/operations.md. Completion
# never asks for a password.
exec sudo ${_ARCHIVER_COMPLETE:+-n} \
    --preserve-env=_ARCHIVER_COMPLETE,COMP_LINE,COMP_WORD,COMP_WORDS,COMP_CWORD sh -c '
    set -a
    [ ! -e /etc/archiver/environment ] || . /etc/archiver/environment
    HIKERAPI_TOKEN=$(cat /etc/archiver/key)
    ARCHIVER_CONFIG=/etc/archiver/config.toml
    PATH=/opt/archiver/bin:$PATH
    exec runuser -u archiver -- archiver "$@"
' sh "$@"
