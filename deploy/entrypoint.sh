#!/bin/sh
# In a container the embedded queue would be a file that goes with it, and its jobs with that: a broker has to be named by
# whatever works on a queue.
set -eu

# In the environment, a file of settings, or a flag.
broker_is_named() {
  [ -z "${FLOWLAUNCH_BROKER__URL:-}${FLOWLAUNCH_BROKER__URL_FILE:-}" ] || return 0
  [ ! -e flowlaunch.toml ] || return 0
  case " $* " in
    *" --config "* | *" --config="* | *" --set broker.url"* | *" --set=broker.url"*) ;;
    *) return 1 ;;
  esac
}

asks_for_help() {
  case " $* " in
    *" --help "* | *" -h "*) ;;
    *) return 1 ;;
  esac
}

case ${1:-} in
  demo | simulator | launch | flows | completions | man | schema | help | -V | --version) ;;
  *)
    if ! broker_is_named "$@" && ! asks_for_help "$@"; then
      echo "flowlaunch: no broker is named: set FLOWLAUNCH_BROKER__URL_FILE (a file with amqp://user:password@host/vhost" \
        "in it), FLOWLAUNCH_BROKER__URL, or give --config" >&2
      exit 2
    fi
    ;;
esac
# In place of this shell, so that SIGTERM reaches it.
exec flowlaunch "$@"
