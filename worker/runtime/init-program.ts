import type { OciMount } from './oci-config.ts'

/** In /dev, which is a tmpfs of the container's own: nothing of its image is touched, and a read-only root has it too. */
const PATH_INSIDE = '/dev/init'

/**
 * catatonit (openSUSE's, which podman uses): an init that passes signals on to its one child, reaps what is orphaned and ends with
 * the child's exit code. It is static, so it runs in any image. tini does the same, and had its last release in 2020.
 */
export const INIT_PROGRAM = 'catatonit'

/** The command as the child of an init. */
export function underInit(args: readonly string[]): string[] {
  return [PATH_INSIDE, '--', ...args]
}

/** The host's program, which the container cannot change. */
export function initMount(program: string): OciMount {
  return {
    destination: PATH_INSIDE,
    source: program,
    type: 'bind',
    options: ['bind', 'rprivate', 'ro', 'nosuid', 'nodev'],
  }
}
