package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCreatedBundle(t *testing.T) {
	for args, want := range map[string]string{
		"--root /r --log /l create --bundle /b --pid-file /p id": "/b",
		"create --bundle=/b id":                                  "/b",
		"create -b /b id":                                        "/b",
		"create id":                                              ".",
	} {
		if bundle, ok := createdBundle(strings.Fields(args)); !ok || bundle != want {
			t.Errorf("%q: %q, %v", args, bundle, ok)
		}
	}
	if _, ok := createdBundle([]string{"--root", "/r", "start", "id"}); ok {
		t.Error("start creates nothing")
	}
}

func TestInject(t *testing.T) {
	const spec = `{"ociVersion":"1.0.2","process":{"env":[%ENV%],"rlimits":[{"hard":18446744073709551615}]},"mounts":[{"destination":"/proc"}]}`
	for env, injected := range map[string]bool{
		``:                                     false,
		`"NVIDIA_VISIBLE_DEVICES=void"`:        false,
		`"NVIDIA_VISIBLE_DEVICES="`:            false,
		`"NVIDIA_VISIBLE_DEVICES=all"`:         true,
		`"A=b","NVIDIA_VISIBLE_DEVICES=GPU-1"`: true,
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(path, []byte(strings.Replace(spec, "%ENV%", env, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := inject(path); err != nil {
			t.Fatal(err)
		}
		raw, _ := os.ReadFile(path)
		var got struct {
			Mounts []struct{ Destination, Source string }
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{false: 1, true: 3}[injected]; len(got.Mounts) != want {
			t.Errorf("%s: %d mounts, not %d", env, len(got.Mounts), want)
		}
		// A limit that no floating point number holds must come through whole.
		if !strings.Contains(string(raw), "18446744073709551615") {
			t.Errorf("%s: a number changed: %s", env, raw)
		}
	}
}
