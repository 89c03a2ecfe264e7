#!/usr/bin/env bash
# Runs a command beside a real Consul: tests/real/consul.sh COMMAND...
# The agent is Debian 11's (the newest that Debian has), on 127.0.0.1 and free ports, in memory; it ends with the command,
# which finds it by REAL_CONSUL_URL. Fetched once, into $HEADGATE_REAL_HOME or ~/.cache/headgate-real (15 MB, seconds).
# With ACLs: REAL_CONSUL_FLAGS='-hcl acl{...}'. Another agent: set REAL_CONSUL_URL yourself and leave this script out.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
[ $# -gt 0 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }

fetch() {
  apt_of bullseye
  unpack consul
  mv root/usr/bin/consul "$bin/"
}

installed consul fetch
read -r http server serf < <(free_ports 3)
# shellcheck disable=SC2086 # flags are several words
serve consul "$bin/consul" agent -dev -node=real -bind=$here -client=$here -http-port="$http" -server-port="$server" \
  -serf-lan-port="$serf" -serf-wan-port=-1 -dns-port=-1 -grpc-port=-1 -hcl 'disable_update_check = true' ${REAL_CONSUL_FLAGS:-}
export REAL_CONSUL_URL=http://$here:$http
# An agent answers before it has a leader, and refuses to register until then.
leader() { python3 -c '
import sys, urllib.request
opened = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1] + "/v1/status/leader", timeout=2)
sys.exit(len(opened.read()) < 5)' "$REAL_CONSUL_URL"; }
until_answers consul leader
"$@"
