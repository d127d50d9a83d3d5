locals {
  list = ["b", "a", "c"]
}
job "functions" {
  meta {
    numeric    = "${abs(-3)} ${ceil(1.2)} ${floor(1.8)} ${max(1, 5)} ${min(1, 5)} ${parseint("ff", 16)} ${pow(2, 8)} ${signum(-2)} ${log(8, 2)}"
    strings    = "${chomp("a\n")}|${format("%03d", 7)}|${lower("A")}|${replace("a-b", "-", "+")}|${strlen("abc")}|${substr("hello", 1, 3)}|${title("a b")}|${upper("a")}"
    trimming   = "${trim("?a?", "?")}|${trimprefix("xa", "x")}|${trimsuffix("ax", "x")}|${trimspace(" a ")}|${indent(2, "a\nb")}"
    splitting  = join(",", reverse("cba") == "abc" ? split(" ", "x y") : [])
    regexes    = regex_replace("a1b22", "[0-9]+", "#")
    lists      = join(",", sort(concat(local.list, ["d"])))
    formatted  = join(",", formatlist("%s!", local.list))
    more_lists = jsonencode([chunklist([1, 2, 3], 2), coalesce("", "x"), compact(["", "y"]), contains(local.list, "a"), distinct([1, 1]), element(local.list, 1), flatten([[1], [2]]), length(local.list), slice(local.list, 0, 1)])
    maps       = jsonencode([keys({ a = 1 }), values({ a = 1 }), lookup({ a = 1 }, "b", 2), merge({ a = 1 }, { b = 2 }), zipmap(["k"], ["v"]), index(["p", "q"], 1)])
    sets       = jsonencode([setunion(["a"], ["b"]), setintersection(["a", "b"], ["b"]), setproduct(["a"], ["b"])])
    encoding   = "${base64encode("hi")} ${base64decode("aGk=")} ${urlencode("a b&c")} ${jsondecode("{\"a\": [1]}").a[0]} ${csvdecode("n\n7\n")[0].n}"
    dates      = "${formatdate("YYYY-MM-DD", "2020-01-02T03:04:05Z")} ${timeadd("2020-01-02T03:04:05Z", "1h")}"
    hashes     = "${md5("a")} ${sha1("a")} ${sha256("a")} ${substr(sha512("a"), 0, 16)}"
    uuids      = "${uuidv5("dns", "www.example.com")} ${uuidv4()}"
    addresses  = "${cidrhost("10.1.0.0/16", 5)} ${cidrhost("10.1.0.0/16", -1)} ${cidrnetmask("10.0.0.0/12")} ${cidrsubnet("10.0.0.0/8", 8, 2)} ${join(" ", cidrsubnets("10.0.0.0/8", 8, 4))} ${cidrsubnet("fd00::/48", 16, 1)}"
    control    = "${can(local.list[9])} ${try(local.list[9], "none")} ${convert("5", number) + 1}"
    files      = "${trimspace(file("hello.txt"))} ${filebase64("hello.txt")} ${fileexists("hello.txt")} ${fileexists("nothing")} ${basename("a/b")} ${dirname("a/b")} ${jsonencode(fileset(".", "hel*.txt"))}"
  }
  group "g" {
    task "t" {
      driver = "docker"
    }
  }
}
