package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// library is the folder: files at its top, and hub/OWNER/REPO/FILE.
type library struct {
	dir     string
	mu      sync.Mutex
	digests map[string]digest
}

// digest is a file's SHA-256, good for as long as size and time are the same.
type digest struct {
	hex     string
	size    int64
	modTime time.Time
}

// A repository whose name ends so is gated: it wants this token.
const (
	gatedSuffix = "-gated"
	gateToken   = "Bearer hf_open_sesame"
)

// largeFile is the size from which a hub keeps files in its large-file storage
// and redirects to it.
const largeFile = 1 << 20

func (l *library) digest(path string) (digest, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return digest{}, errGone
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, ok := l.digests[path]; ok && d.size == info.Size() && d.modTime.Equal(info.ModTime()) {
		return d, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return digest{}, err
	}
	d := digest{hex.EncodeToString(h.Sum(nil)), info.Size(), info.ModTime()}
	l.digests[path] = d
	return d, nil
}

// path joins the folder with parts of a URL and refuses to leave it.
func (l *library) path(parts ...string) (string, error) {
	relative := filepath.Join(parts...)
	if !filepath.IsLocal(relative) {
		return "", errGone
	}
	return filepath.Join(l.dir, relative), nil
}

func (l *library) file(w http.ResponseWriter, r *http.Request) {
	l.serve(w, r, r.PathValue("file"))
}

func (l *library) serve(w http.ResponseWriter, r *http.Request, parts ...string) {
	path, err := l.path(parts...)
	if err != nil {
		fail(w, http.StatusNotFound, "EntryNotFound", "no such file")
		return
	}
	d, err := l.digest(path)
	if err != nil {
		fail(w, http.StatusNotFound, "EntryNotFound", "no such file")
		return
	}
	f, err := os.Open(path)
	if err != nil {
		fail(w, http.StatusInternalServerError, "", err.Error())
		return
	}
	defer f.Close()
	w.Header().Set("Etag", `"`+d.hex+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	serveContent(w, r, f, d.size)
}

// blob serves a file by its digest: where a hub's redirects lead.
func (l *library) blob(w http.ResponseWriter, r *http.Request) {
	want := r.PathValue("sha256")
	l.mu.Lock()
	var path string
	for p, d := range l.digests {
		if d.hex == want {
			path = p
		}
	}
	l.mu.Unlock()
	relative, err := filepath.Rel(l.dir, path)
	if path == "" || err != nil {
		fail(w, http.StatusNotFound, "EntryNotFound", "no such blob")
		return
	}
	l.serve(w, r, relative)
}

// repository is one folder hub/OWNER/REPO with its files' names, sorted, and a
// commit that changes when they do.
type repository struct {
	files  []string
	commit string
}

// open finds a repository and checks what the request may see. It answers the
// request itself, and returns false, where there is nothing to see.
func (l *library) open(w http.ResponseWriter, r *http.Request) (repository, bool) {
	owner, name := r.PathValue("owner"), r.PathValue("repo")
	dir, err := l.path("hub", owner, name)
	if err != nil {
		fail(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
		return repository{}, false
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		// A hub does not say whether a repository is private or absent.
		fail(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
		return repository{}, false
	}
	if strings.HasSuffix(name, gatedSuffix) && r.Header.Get("Authorization") != gateToken {
		fail(w, http.StatusForbidden, "GatedRepo", "Access to model "+owner+"/"+name+" is restricted.")
		return repository{}, false
	}
	var repo repository
	h := sha256.New()
	for _, e := range entries {
		d, err := l.digest(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		repo.files = append(repo.files, e.Name())
		fmt.Fprintln(h, e.Name(), d.hex)
	}
	slices.Sort(repo.files)
	repo.commit = hex.EncodeToString(h.Sum(nil))[:40]
	revision := r.PathValue("revision")
	if revision != "" && revision != "main" && revision != repo.commit {
		fail(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return repository{}, false
	}
	return repo, true
}

func (l *library) describe(w http.ResponseWriter, r *http.Request) {
	repo, ok := l.open(w, r)
	if !ok {
		return
	}
	type sibling struct {
		Name string `json:"rfilename"`
	}
	siblings := make([]sibling, len(repo.files))
	for i, f := range repo.files {
		siblings[i] = sibling{f}
	}
	id := r.PathValue("owner") + "/" + r.PathValue("repo")
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{ //nolint:errcheck // the client went away
		"id": id, "modelId": id, "sha": repo.commit, "siblings": siblings,
		"private": false, "gated": strings.HasSuffix(id, gatedSuffix),
	})
}

// resolve answers for a large file with a redirect that already says the file's
// digest and size, for a small one with the file.
func (l *library) resolve(w http.ResponseWriter, r *http.Request) {
	repo, ok := l.open(w, r)
	if !ok {
		return
	}
	parts := []string{"hub", r.PathValue("owner"), r.PathValue("repo"), r.PathValue("file")}
	path, err := l.path(parts...)
	if err != nil {
		fail(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	d, err := l.digest(path)
	if err != nil {
		fail(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("X-Repo-Commit", repo.commit)
	if d.size < largeFile {
		l.serve(w, r, parts...)
		return
	}
	w.Header().Set("X-Linked-Size", fmt.Sprint(d.size))
	w.Header().Set("X-Linked-Etag", `"`+d.hex+`"`)
	w.Header().Set("Location", faultPrefix(r)+"/cdn/"+d.hex)
	w.WriteHeader(http.StatusFound)
}
