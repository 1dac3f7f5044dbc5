// Command modelserver serves a folder of model files over HTTP(S): as plain
// files with ranges and validators, and the way a model hub does. Any path can
// be asked for under a fault, so that a client's bad days can be tested.
//
//	/FILE                                     a file of the folder
//	/api/models/OWNER/REPO/revision/REV       what a repository holds
//	/OWNER/REPO/resolve/REV/FILE              a file of hub/OWNER/REPO, by redirect
//	/fault/KIND[=N]/...                       any of these, gone wrong; see faults.go
//	/stats                                    the latest requests, as JSON; DELETE forgets
//	/healthz
package main

import (
	"errors"
	"flag"
	"log"
	"net/http"
	"strings"
	"time"
)

func main() {
	dir := flag.String("dir", "/models", "the folder to serve")
	https := flag.String("https", ":8443", "address of the HTTPS server")
	plain := flag.String("http", ":8080", "address of the HTTP server")
	cert := flag.String("cert", "/tls/tls.crt", "certificate chain, PEM")
	key := flag.String("key", "/tls/tls.key", "private key, PEM")
	flag.Parse()

	handler := newServer(*dir)
	failed := make(chan error)
	go func() { failed <- listen(*plain, handler, "", "") }()
	go func() { failed <- listen(*https, handler, *cert, *key) }()
	log.Fatal(<-failed)
}

func listen(address string, handler http.Handler, cert, key string) error {
	s := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	if cert == "" {
		return s.ListenAndServe()
	}
	return s.ListenAndServeTLS(cert, key)
}

func newServer(dir string) http.Handler {
	lib := &library{dir: dir, digests: map[string]digest{}}
	api := http.NewServeMux()
	api.HandleFunc("GET /api/models/{owner}/{repo}", lib.describe)
	api.HandleFunc("GET /api/models/{owner}/{repo}/revision/{revision}", lib.describe)
	files := http.NewServeMux()
	files.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	files.HandleFunc("GET /{owner}/{repo}/resolve/{revision}/{file...}", lib.resolve)
	files.HandleFunc("GET /cdn/{sha256}", lib.blob)
	files.HandleFunc("GET /{file}", lib.file)

	// An owner named `api` would be ambiguous to one mux.
	all := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			api.ServeHTTP(w, r)
		} else {
			files.ServeHTTP(w, r)
		}
	})

	stats := &stats{}
	top := http.NewServeMux()
	top.HandleFunc("GET /stats", stats.show)
	top.HandleFunc("DELETE /stats", stats.forget)
	top.Handle("/fault/{fault}/", stats.count(withFault(all)))
	top.Handle("/", stats.count(all))
	return top
}

// fail answers as a hub does: the code in a header for programs, the text for people.
func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	http.Error(w, message, status)
}

var errGone = errors.New("no such file")
