package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func get(h http.Handler, path string) (int, string) {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

func TestAnswers(t *testing.T) {
	t.Setenv("NOMAD_ALLOC_INDEX", "2")
	t.Setenv("NODE", "")
	t.Setenv("NOMAD_ALLOC_ID", "8d3c1f7a-52be-4e0f-9a55-0c1d2e3f4a5b")
	if code, text := get(handler("7", false), "/"); code != 200 || text != "hello from instance 2, allocation 8d3c1f7a-52be-4e0f-9a55-0c1d2e3f4a5b, version 7\n" {
		t.Error(code, text)
	}
	t.Setenv("NODE", "one")
	if _, text := get(handler("7", false), "/"); text != "hello from instance 2 on node one, allocation 8d3c1f7a-52be-4e0f-9a55-0c1d2e3f4a5b, version 7\n" {
		t.Error(text)
	}
	if code, _ := get(handler("7", false), "/health"); code != 200 {
		t.Error(code)
	}
	if code, text := get(handler("7", true), "/health"); code != 500 || !strings.Contains(text, "unhealthy") {
		t.Error(code, text)
	}
	if code, _ := get(handler("7", false), "/nothing"); code != 404 {
		t.Error(code)
	}
}

func TestFailsAsTold(t *testing.T) {
	t.Setenv("NOMAD_PORT_http", "0")
	if err := run("1", false, time.Millisecond); err != errTold {
		t.Error(err)
	}
}
