# Sourced by the scripts beside it: packages of Debian unpacked into a directory, and processes that end with the script.
# Nothing is installed on the machine: apt keeps its lists and its (empty) record of what is there under $home/apt.

export LC_ALL=C
here=127.0.0.1
home=${HEADGATE_REAL_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/headgate-real}/$(basename "$0" .sh)
bin=$home/bin
run=$(mktemp -d)
pids=()

say() { echo "$(basename "$0"): $*" >&2; }

fail() { say "$@"; exit 1; }

cleanup() { # end what was started, the last first; nothing else
  local each _
  for ((each = ${#pids[@]} - 1; each >= 0; each--)); do
    kill -TERM "${pids[each]}" 2>/dev/null || continue
    for _ in {1..30}; do kill -0 "${pids[each]}" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "${pids[each]}" 2>/dev/null || true
    wait "${pids[each]}" 2>/dev/null || true
  done
  rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_ports() { # N: as many ports that nobody listens on
  python3 -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(each.getsockname()[1] for each in held))' "$1"
}

apt_of() { # RELEASE: prepare an apt that knows only that release, of the mirrors this machine uses
  local each apt=$home/apt
  mkdir -p "$apt"/{lists,archives}/partial
  : >"$apt/status"
  while read -r each; do
    for kind in deb deb-src; do
      echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $each $1 main"
    done
  done < <(apt-get indextargets --no-release-info --format '$(REPO_URI)' | grep -v security | sort -u) >"$apt/sources.list"
  [ -s "$apt/sources.list" ] || fail "this machine's apt knows no mirror of Debian"
  # A mirror that has no such release is passed over.
  private_apt update || true
}

private_apt() {
  local apt=$home/apt
  apt-get -qq -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" \
    -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root "$@"
}

unpack() { # PACKAGE...: into ./root
  private_apt download "$@"
  local each
  for each in *.deb; do dpkg-deb -x "$each" root; rm "$each"; done
}

installed() { # PROGRAM FUNCTION: run FUNCTION in a scratch directory unless $bin/PROGRAM is there; one at a time
  mkdir -p "$bin"
  exec 9>"$home/lock"
  flock 9
  if [ ! -x "$bin/$1" ]; then
    say "$1 is not there yet: fetching it (log: $home/install.log)"
    rm -rf "$home/apt" "$home/scratch"
    mkdir -p "$home/scratch"
    (set -euxo pipefail; cd "$home/scratch"; "$2") >"$home/install.log" 2>&1 || fail "$(tail -n 5 "$home/install.log")"
    rm -rf "$home/apt" "$home/scratch"
  fi
  exec 9>&-
}

serve() { # NAME COMMAND...: in the background, until the script ends
  local name=$1
  shift
  "$@" >"$run/$name.log" 2>&1 </dev/null &
  pids+=($!)
}

until_answers() { # NAME COMMAND...: for at most a minute, as long as the process lives
  local name=$1 _
  shift
  for _ in {1..300}; do
    "$@" >/dev/null 2>&1 && return
    kill -0 "${pids[-1]}" 2>/dev/null || break
    sleep 0.2
  done
  fail "$name did not come up: $(tail -n 5 "$run/$name.log")"
}
