package main

import (
	"encoding/json"
	"net/http"
	"sync"
)

// request is one that was answered, or broken off.
type request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Range  string `json:"range,omitempty"`
	Status int    `json:"status"`
	Bytes  int64  `json:"bytes"`
}

// stats remembers the latest requests, so that a test can see what a client did.
type stats struct {
	mu     sync.Mutex
	latest []request
}

const remembered = 1000

func (s *stats) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counter{ResponseWriter: w, r: request{Method: r.Method, Path: r.URL.Path, Range: r.Header.Get("Range"), Status: http.StatusOK}}
		defer func() { // also when the handler breaks off by a panic
			s.mu.Lock()
			defer s.mu.Unlock()
			if r.URL.Path != "/healthz" {
				s.latest = append(s.latest, c.r)
				s.latest = s.latest[max(0, len(s.latest)-remembered):]
			}
		}()
		next.ServeHTTP(c, r)
	})
}

func (s *stats) show(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(append([]request{}, s.latest...)) //nolint:errcheck // the client went away
}

func (s *stats) forget(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = nil
	w.WriteHeader(http.StatusNoContent)
}

// counter counts what is written through it.
type counter struct {
	http.ResponseWriter
	r request
}

func (c *counter) WriteHeader(status int) {
	c.r.Status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.r.Bytes += int64(n)
	return n, err
}

// Unwrap lets a handler flush through the counter.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
