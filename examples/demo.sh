#!/usr/bin/env bash
# The main job, end to end, on this machine alone: three nodes, each server and client, on loopback addresses of their own; a
# web service spread over them and found by name; an agent killed; a whole node lost; a rolling update; everything gone again.
# `make demo` builds what it needs. Needs no root, no Docker, no certain port.
#
#	examples/demo.sh             runs it and leaves nothing behind
#	KEEP=1 examples/demo.sh      leaves the cluster running, and says how to use and how to stop it
#	examples/demo.sh stop DIR    stops what KEEP=1 left in DIR
set -eu -o pipefail
cd "$(dirname "$0")/.."
root=$PWD
nodes="one two three"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
# follow runs a job until it is healthy, and shows how its deployment comes along.
follow() { printf '$ cluster job run %s | grep Deployment\n' "$*"; "$root/bin/cluster" job run "$@" | grep Deployment; }
cluster() { printf '$ cluster %s\n' "$*"; "$root/bin/cluster" "$@"; }

# until_true WHAT COMMAND…: repeats the command until it succeeds, 20 s at most.
until_true() {
	local what=$1 end=$((SECONDS + 20))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "gave up waiting until $what"; return 1; }
		sleep 0.05
	done
}

# ours [NODE] prints the processes of the demo, or of one of its nodes: all have its directory in their environment.
ours() {
	grep -lsaz "=$dir/${1:-}" /proc/[0-9]*/environ | cut -d/ -f3 || :
}

# clear ends what is left of the demo, and removes its directory and the control groups of what was killed.
clear() {
	local left node sum
	while left=$(ours) && [ -n "$left" ]; do
		# shellcheck disable=SC2086
		kill -9 $left 2>/dev/null || :
		sleep 0.05
	done
	for node in $nodes; do
		sum=$(printf %s "$dir/$node/supervisor" | sha256sum)
		find /sys/fs/cgroup -depth -type d -path "*/cluster-${sum:0:12}*" -exec rmdir {} + 2>/dev/null || :
	done
	rm -rf "$dir"
}

if [ "${1:-}" = stop ]; then
	dir=${2:?which? the demo said so when it started}
	[ -e "$dir/demo" ] || { echo "$dir is no demo's directory"; exit 1; }
	clear
	exit
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/demo-XXXXXX")
# finish STATUS clears and ends. A signal may come while it begins for another reason: then it begins anew.
finish() {
	trap '' INT TERM HUP
	if [ "$1" != 0 ] && [ "$1" != 130 ]; then
		echo
		echo "the demo failed; the agents said:"
		tail -n 20 "$dir"/*.log 2>/dev/null || :
	fi
	clear
	trap - EXIT
	exit "$1"
}
trap 'finish $?' EXIT
trap 'finish 130' INT TERM HUP
touch "$dir/demo"

# Ports that nobody has, and an address per node, so that a cluster that runs here is not disturbed.
port=$(cat /proc/net/{tcp,udp}{,6} 2>/dev/null | awk -v seed=$RANDOM '
	$1 ~ /:$/ {split($2, at, ":"); used[at[2]] = 1}
	END {for (try = 0; try < 440; try++) {
		base = 10000 + (seed * 50 + try * 50) % 22000; free = 1
		for (p = base; p < base + 50; p++) free = free && !(sprintf("%04X", p) in used)
		if (free) {print base; exit}
	}}')
[ -n "$port" ] || { echo "there are no 50 free ports in a row"; exit 1; }
network=127.0.$((port / 50 % 250 + 1))
address() { case $1 in one) echo "$network.1" ;; two) echo "$network.2" ;; three) echo "$network.3" ;; esac; }
first() { case $1 in one) echo $((port + 4)) ;; two) echo $((port + 19)) ;; three) echo $((port + 34)) ;; esac; }

# agent NODE [flag…] starts a node.
agent() {
	local node=$1
	shift
	cat >"$dir/$node.hcl" <<-END
		name      = "$node"
		data_dir  = "$dir/$node"
		bind_addr = "$(address "$node")"
		ports {
		  http = $port
		  rpc  = $((port + 1))
		  serf = $((port + 2))
		  dns  = $((port + 3))
		}
		client { # all tasks are on one machine here: the nodes share its ports
		  min_dynamic_port = $(first "$node")
		  max_dynamic_port = $(($(first "$node") + 14))
		}
		plugin "raw_exec" {
		  config { enabled = true }
		}
	END
	CLUSTER_DEMO=$dir/$node "$root/bin/cluster" agent "$@" -config "$dir/$node.hcl" >>"$dir/$node.log" 2>&1 &
	eval "supervisor_$node=$!"
	disown
}

ready() { # COUNT
	until_true "$1 nodes are ready" sh -c "[ \$('$root/bin/cluster' node status | grep -c ' ready') = $1 ]"
}

# names prints what each living node answers for the service's name.
names() {
	local node
	for node in $living; do
		printf '%-6s answers  ' "$node"
		"$root/bin/hello" -dns "$(address "$node"):$((port + 3))" -resolve hello.cluster.internal | paste -sd' '
	done
}

# agreed COUNT reports whether all living nodes answer with so many endpoints, the same ones.
agreed() {
	local node answer first=
	for node in $living; do
		answer=$("$root/bin/hello" -dns "$(address "$node"):$((port + 3))" -resolve hello.cluster.internal) || return 1
		[ "$(wc -l <<<"$answer")" = "$1" ] && [ "${first:=$answer}" = "$answer" ] || return 1
	done
}

# gone NODE reports whether no living node answers with an endpoint there.
gone() {
	local node answer
	for node in $living; do
		answer=$("$root/bin/hello" -dns "$(address "$node"):$((port + 3))" -resolve hello.cluster.internal) || return 1
		! grep -qF "$(address "$1"):" <<<"$answer" || return 1
	done
}

# fetch NODE asks for a page by name, as that node's DNS knows it.
fetch() {
	printf 'http://hello.cluster.internal/ by the DNS of %s: ' "$1"
	"$root/bin/hello" -dns "$(address "$1"):$((port + 3))" -get http://hello.cluster.internal/
}

tasks() { ours "$1/alloc" | sort | paste -sd' '; }

# clock prints the seconds since $begun.
clock() { awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.1f s", b - a}'; }

say "three nodes, each server and client; the second and third join by token"
living=$nodes
export CLUSTER_ADDR=http://$(address one):$port
printf '$ cluster agent -bootstrap    # on %s\n' "$(address one)"
agent one -bootstrap
ready 1
for node in two three; do
	printf '$ CLUSTER_JOIN=$(cluster join-token server) cluster agent    # on %s\n' "$(address $node)"
	CLUSTER_JOIN=$("$root/bin/cluster" join-token server 2>/dev/null) agent $node
done
ready 3
cluster node status

say "a web service, spread over them"
follow examples/hello.hcl
cluster service info hello

say "every node answers by its name"
until_true "all answer the same" agreed 3
names
for node in $living; do fetch $node; done

say "the agent of node two is killed with -9: its supervisor starts another, and no task is touched"
before=$(tasks two)
agent=$(sed -n 's/.*msg="agent started" pid=//p' "$dir/two.log" | tail -n 1)
run kill -9 "$agent"
until_true "there is another agent" sh -c "[ \$(grep -c 'agent started' '$dir/two.log') = 2 ]"
ready 3
until_true "all answer the same" agreed 3
[ "$before" = "$(tasks two)" ] || { echo "tasks were: $before, are: $(tasks two)"; exit 1; }
echo "the same process serves as before: $before"

say "node one, which leads, is lost: agent, supervisor and tasks, all killed with -9"
living="two three"
export CLUSTER_ADDR=http://$(address two):$port
begun=$EPOCHREALTIME
# shellcheck disable=SC2046
run kill -9 $(ours one)
until_true "its endpoint is gone" gone one
echo "after $(clock) its endpoint is in nobody's answers any more:"
names
until_true "there is a replacement" agreed 3
echo "after $(clock) its work is done elsewhere:"
names
for node in $living; do fetch $node; done
cluster node status
cluster job status hello | sed -n '/^Allocations/,$p'

say "it comes back, without a token: it has its certificate"
living=$nodes
printf '$ cluster agent    # on %s\n' "$(address one)"
agent one
ready 3
until_true "gossip has all three" sh -c "[ \$('$root/bin/cluster' server members | grep -c alive) = 3 ]"
cluster server members

say "an update, one instance after the other; the names follow"
follow -var release=2 examples/hello.hcl
until_true "all answer the same" agreed 3
names
fetch one

if [ -n "${KEEP:-}" ]; then
	cat <<-END

		The cluster goes on. To use it:

		    export PATH=$root/bin:\$PATH CLUSTER_ADDR=$CLUSTER_ADDR
		    cluster node status
		    cluster job run -var release=3 examples/hello.hcl
		    hello -dns $(address three):$((port + 3)) -get http://hello.cluster.internal/

		The DNS of nodes one, two and three is on port $((port + 3)) of $network.1, .2 and .3. To stop all of it:

		    examples/demo.sh stop $dir
	END
	trap - EXIT
	exit
fi

say "the end"
cluster job stop -purge hello | tail -n 1
run kill -TERM $supervisor_one $supervisor_two $supervisor_three
until_true "all agents have ended" sh -c "! grep -lsaz '=$dir/' /proc/[0-9]*/environ"
echo "no process is left; everything else was in $dir, which goes now"
