# Shortens `go test -v`: failures whole, one line per package, and each skipped test with its reason.
/^=== RUN|^=== PAUSE|^=== CONT|^=== NAME/ { next }
/^ *--- SKIP/ { skipped[++skips] = $3 ": " reason; reason = ""; next }
/^ *--- PASS/ { passed++; reason = ""; held = ""; next }
/^ *--- FAIL/ { failed++; printf "%s", held; held = ""; print; next }
/^(ok|FAIL|\?|---|panic:|exit)[ \t]/ || /^(FAIL|PASS)$/ {
	if ($0 !~ /^PASS$/) { printf "%s", ($1 == "FAIL" ? held : ""); print }
	if ($1 == "FAIL") bad = 1
	held = ""; next
}
{ reason = $0; sub(/^[ \t]+/, "", reason); held = held $0 "\n"; if (length(held) > 200000) held = substr(held, 100000) }
END {
	for (i = 1; i <= skips; i++) print "skipped " skipped[i]
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skips
	exit (bad || failed) ? 1 : 0
}
