package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

const size = 3 << 20

// start serves one file of known content, as itself and in two repositories.
func start(t *testing.T) (url string, content []byte) {
	t.Helper()
	dir := t.TempDir()
	content = make([]byte, size)
	for i := range content {
		content[i] = byte(i * 7)
	}
	for _, path := range []string{"m.gguf", "hub/o/r/m.gguf", "hub/o/r-gated/m.gguf"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(newServer(dir))
	t.Cleanup(s.Close)
	return s.URL, content
}

// get returns the response and as much of its body as came.
func get(t *testing.T, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r) // no redirects
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

func TestFilesAndRanges(t *testing.T) {
	url, content := start(t)
	response, body, err := get(t, url+"/m.gguf")
	sum := sha256.Sum256(content)
	if err != nil || !bytes.Equal(body, content) || response.Header.Get("Etag") != `"`+hex.EncodeToString(sum[:])+`"` {
		t.Fatalf("whole file: %v, %d bytes, %v", err, len(body), response.Header)
	}
	response, body, _ = get(t, url+"/m.gguf", "Range", "bytes=100-199")
	if response.StatusCode != http.StatusPartialContent || !bytes.Equal(body, content[100:200]) {
		t.Fatalf("range: %d, %d bytes", response.StatusCode, len(body))
	}
	for _, path := range []string{"/absent", "/..%2f..%2fetc%2fpasswd", "/o/r/resolve/main/absent"} {
		if response, _, _ := get(t, url+path); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
}

func TestHub(t *testing.T) {
	url, content := start(t)
	_, body, _ := get(t, url+"/api/models/o/r/revision/main")
	var described struct {
		Sha      string
		Siblings []struct{ Rfilename string }
	}
	if err := json.Unmarshal(body, &described); err != nil || len(described.Sha) != 40 || described.Siblings[0].Rfilename != "m.gguf" {
		t.Fatalf("%v: %s", err, body)
	}
	response, _, _ := get(t, url+"/o/r/resolve/"+described.Sha+"/m.gguf")
	if response.StatusCode != http.StatusFound || response.Header.Get("X-Linked-Size") != fmt.Sprint(size) || response.Header.Get("X-Repo-Commit") != described.Sha {
		t.Fatalf("%d %v", response.StatusCode, response.Header)
	}
	if _, body, _ = get(t, url+response.Header.Get("Location")); !bytes.Equal(body, content) {
		t.Fatal("the redirect leads to something else")
	}
	for path, status := range map[string]int{
		"/api/models/o/absent/revision/main":    http.StatusUnauthorized,
		"/api/models/o/r/revision/absent":       http.StatusNotFound,
		"/api/models/o/r-gated/revision/main":   http.StatusForbidden,
		"/fault/status=503/o/r/resolve/main/m":  http.StatusServiceUnavailable,
		"/fault/nonsense/m.gguf":                http.StatusBadRequest,
		"/fault/slow=1/o/r/resolve/main/absent": http.StatusNotFound,
	} {
		if response, _, _ := get(t, url+path); response.StatusCode != status {
			t.Errorf("%s: %d, not %d", path, response.StatusCode, status)
		}
	}
	if response, _, _ := get(t, url+"/api/models/o/r-gated", "Authorization", gateToken); response.StatusCode != http.StatusOK {
		t.Errorf("with token: %d", response.StatusCode)
	}
}

func TestFaults(t *testing.T) {
	url, content := start(t)
	response, body, err := get(t, url+"/fault/cut/o/r/resolve/main/m.gguf")
	location := response.Header.Get("Location")
	if err != nil || location == "" {
		t.Fatal(err, response.StatusCode)
	}
	if _, body, err = get(t, url+location); err == nil || len(body) > size/2 {
		t.Fatalf("cut: %v after %d bytes", err, len(body))
	}
	_, rest, err := get(t, url+location, "Range", fmt.Sprintf("bytes=%d-", size/2))
	if err != nil || !bytes.Equal(rest, content[size/2:]) {
		t.Fatalf("resumed after the cut: %v, %d bytes", err, len(rest))
	}
	if _, body, err = get(t, url+"/fault/drop=1000/m.gguf"); err == nil || len(body) > 1000 {
		t.Fatalf("drop: %v after %d bytes", err, len(body))
	}
	_, body, err = get(t, url+"/fault/corrupt/m.gguf")
	if err != nil || bytes.Equal(body, content) || !bytes.Equal(body[:size/2], content[:size/2]) || !bytes.Equal(body[size/2+1:], content[size/2+1:]) {
		t.Fatal("corrupt: not one byte in the middle", err)
	}
	_, body, _ = get(t, url+"/fault/magic/m.gguf")
	if len(body) != size || body[3] == content[3] || !bytes.Equal(body[4:], content[4:]) {
		t.Fatal("magic: not just the first four bytes")
	}
	if _, body, _ = get(t, url+"/fault/truncate/m.gguf"); !bytes.Equal(body, content[:size/2]) {
		t.Fatalf("truncate: %d bytes", len(body))
	}
	if response, _, _ = get(t, url+"/fault/norange/m.gguf", "Range", "bytes=1-2"); response.StatusCode != http.StatusOK {
		t.Fatalf("norange: %d", response.StatusCode)
	}
}
