/** One line of the conformance table: what a Dockerfile with its context has to become. */
export interface Case {
  name: string
  dockerfile: string
  /** Shell commands that make the context, in its folder, as root. */
  make?: string
  /** Fields of POST /v1/builds besides context and tags. */
  request?: Record<string, unknown>
  /** Path → `f 644 0:0 text`, `d 755 0:0`, `l target`; `-` for what may not be there. */
  files?: Record<string, string>
  /** What the image's configuration has, at least. */
  config?: Record<string, unknown>
  /** What the build's log has, or not where a part begins with `!`. */
  log?: string[]
  /** Rules that warn, in order of their lines. */
  warnings?: string[]
  error?: { code: string; says: string; line?: number; column?: number }
  /** Which other builder gave the same (or refused it, too): Debian's `docker` (its BuildKit), `buildah`, or why neither can. */
  peer: 'docker' | 'buildah' | `none: ${string}`
}
