# With CLUSTER_FORBID_SKIP set, a skipped test fails, unless its reason begins with "optional:".
# Shortens `go test -v`: the output of tests that fail, one line per package, and each skipped test with its reason.
/^=== (RUN|CONT|NAME)/ { test = $3; next }
/^=== PAUSE/ { next }
/^ *--- PASS/ { passed++; delete output[$3]; next }
/^ *--- SKIP/ {
	reason = output[$3]; sub(/\n$/, "", reason); sub(/^.*\n/, "", reason); sub(/^[ \t]+/, "", reason)
	if (reason !~ /: optional:/) forbidden++
	skipped[++skips] = $3 ": " reason; delete output[$3]; next
}
/^ *--- FAIL/ { failed++; print; printf "%s", output[$3]; delete output[$3]; next }
/^(ok|\?)[ \t]/ { print; test = ""; split("", output); next }
/^FAIL[ \t]/ { # what is left belongs to tests that never ended, or to none
	bad = 1
	for (name in output) printf "%s", output[name]
	print; test = ""; split("", output); next
}
/^(PASS|FAIL|exit status.*)$/ { next }
{
	output[test] = output[test] $0 "\n"
	if (length(output[test]) > 100000) output[test] = substr(output[test], 50000)
}
END {
	for (i = 1; i <= skips; i++) print "skipped " skipped[i]
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skips
	if (ENVIRON["CLUSTER_FORBID_SKIP"] == "") forbidden = 0
	if (forbidden) printf "%d tests skipped where skipping is forbidden\n", forbidden
	exit (bad || failed || forbidden) ? 1 : 0
}
