package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

var version = "unknown"

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello go %s from %d\n", version, os.Getuid())
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
