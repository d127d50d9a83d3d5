#!/usr/bin/env bash
# The main job, end to end, on this machine alone: an agent, a web service of three instances, an agent killed, a rolling
# update, and everything gone again. `make demo` builds what it needs. Needs no root, no Docker, no free port.
set -eu -o pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=$(mktemp -d "${TMPDIR:-/tmp}/demo-XXXXXX")
supervisor=

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
cluster() { run "$root/bin/cluster" "$@"; }

# until TEXT COMMAND…: repeats the command until it succeeds, 15 s at most.
until_true() {
	local what=$1 end=$((SECONDS + 15))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "gave up waiting until $what"; return 1; }
		read -rt 0.05 <>"$dir/never" || :
	done
}

# ours prints the processes that this demo started: all carry its directory in their environment.
ours() {
	local environ
	for environ in /proc/[0-9]*/environ; do
		if tr '\0' '\n' 2>/dev/null <"$environ" | grep -qxF "CLUSTER_DEMO=$dir"; then
			environ=${environ#/proc/}
			[ "${environ%/environ}" = $$ ] || [ "${environ%/environ}" = "$BASHPID" ] || echo "${environ%/environ}"
		fi
	done
}

finish() {
	local status=$?
	trap - EXIT
	if [ "$status" != 0 ]; then
		echo
		echo "the demo failed; the agent said:"
		tail -n 30 "$dir/agent.log" 2>/dev/null || :
	fi
	CLUSTER_DEMO= ours | xargs -r kill -9 2>/dev/null || :
	rm -rf "$dir"
	exit "$status"
}
trap finish EXIT
mkfifo "$dir/never"
export CLUSTER_ADDR=unix://$dir/data/api.sock

cat >"$dir/agent.hcl" <<-'END'
	bind_addr = "127.0.0.1"
	ports { # any that are free
	  http = 0
	  rpc  = 0
	  serf = 0
	  dns  = 0
	}
	plugin "raw_exec" {
	  config { enabled = true }
	}
END

say "an agent, server and client in one"
CLUSTER_DEMO=$dir "$root/bin/cluster" agent -bootstrap -data-dir "$dir/data" -config "$dir/agent.hcl" >"$dir/agent.log" 2>&1 &
supervisor=$!
until_true "the node is ready" sh -c "'$root/bin/cluster' node status | grep -q ready"
cluster node status

say "a service of three instances"
cluster job run examples/hello.hcl

answers() {
	"$root/bin/cluster" service info -json hello | tr -d ' ,"' | awk -F: '/^Address:/ {a = $2} /^Port:/ {print "http://" a ":" $2 "/"}' | while read -r url; do
		printf '%s  ' "$url"
		"$root/bin/hello" -get "$url"
	done
}
say "an answer from each"
answers

say "the agent is killed with -9; its supervisor starts another"
tasks() { ours | while read -r p; do [ "$(cat "/proc/$p/comm" 2>/dev/null)" != hello ] || echo "$p"; done | sort; }
before=$(tasks)
agent=$(cat "/proc/$supervisor"/task/*/children | tr ' ' '\n' | while read -r p; do ! grep -qa agent "/proc/$p/cmdline" || echo "$p"; done)
# shellcheck disable=SC2086
run kill -9 $agent
until_true "the new agent answers" sh -c "'$root/bin/cluster' node status | grep -q ready"
[ "$before" = "$(tasks)" ] || { echo "tasks were: $before, are: $(tasks)"; exit 1; }
echo "the same processes run as before: $(echo $before)"
answers

say "an update, one instance after the other"
cluster job run -var release=2 examples/hello.hcl
answers

say "the end"
cluster job stop -purge hello
run kill -TERM "$supervisor"
wait "$supervisor" || { echo "the agent ended with status $?"; exit 1; }
left=$(ours)
[ -z "$left" ] || { echo "processes left: $left"; exit 1; }
echo "no process is left; everything was in $dir, which goes now"
