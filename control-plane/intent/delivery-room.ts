/**
 * Memory for large deliveries, which are held whole before their signature can be verified: whoever knows a hook's address could
 * fill it otherwise. One for all requests of a process (of an isolate, on Workers). Nobody waits: who finds no room comes again.
 */
export class DeliveryRoom {
  #leftBytes: number

  constructor(bytes: number) {
    this.#leftBytes = bytes
  }

  /** False: there is no room for so much more. What was taken is given back with `leave`. */
  take(bytes: number): boolean {
    if (bytes > this.#leftBytes) return false
    this.#leftBytes -= bytes
    return true
  }

  leave(bytes: number): void {
    this.#leftBytes += bytes
  }
}
