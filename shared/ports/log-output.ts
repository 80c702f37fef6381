/** What pino writes its lines to. */
export interface LogOutput {
  write(line: string): void
}

/**
 * The log of a process: a line that `writeLine` cannot write is lost, and the process goes on. Pino's own destination
 * ends the process on a full disk, or waits for ever while it ends: with the log on the disk that is full, that was the
 * control plane's end.
 */
export function logOutput(writeLine: (line: string) => unknown): LogOutput {
  return {
    write(line) {
      try {
        writeLine(line)
      } catch {
        // Nobody can be told.
      }
    },
  }
}
