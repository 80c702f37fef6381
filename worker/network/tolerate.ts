/**
 * For what costs one container or one other firewall when it fails: the rest of the host must not wait for it. It is said
 * on standard error, where the agent's log is, and the next pass tries again. False when it failed.
 */
export async function tolerate(doing: string, task: () => Promise<void>): Promise<boolean> {
  try {
    await task()
    return true
  } catch (error) {
    console.error(`Could not ${doing}; the next pass tries again:`, error)
    return false
  }
}
