#!/bin/sh
# In a container the embedded queue would be a file that goes with it, and its jobs with that: a broker has to be named by
# whatever works on a queue.
set -eu

case ${1:-} in
  demo | simulator | schema | flows | launch | help | -*) ;;
  *)
    if [ -z "${FLOWLAUNCH_BROKER__URL:-}${FLOWLAUNCH_BROKER__URL_FILE:-}" ]; then
      case " $* " in
        *" --config "* | *" --config="* | *" --help "* | *" -h "*) ;;
        *)
          echo "flowlaunch: no broker is named: set FLOWLAUNCH_BROKER__URL_FILE (a file with amqp://user:password@host/vhost" \
            "in it), FLOWLAUNCH_BROKER__URL, or give --config" >&2
          exit 2
          ;;
      esac
    fi
    ;;
esac
# In place of this shell, so that SIGTERM reaches it.
exec flowlaunch "$@"
