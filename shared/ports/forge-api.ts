/** Calls of other people's forges, to say how a build goes. */
export interface ForgeApi {
  /**
   * Sends JSON, follows nothing, and returns the status with the beginning of the answer. Has a deadline of a few seconds.
   * Errors: `forge.unreachable`.
   */
  post(url: string, headers: Record<string, string>, body: unknown): Promise<{ status: number; text: string }>
}
