import { expect, test } from 'vitest'
import { startFailure } from './start-failure.ts'

/** Sentences as crun 1.8 and runc 1.1 print them. */
test.each([
  ['container.command-not-found', 'executable file `nope` not found in $PATH: No such file or directory'],
  [
    'container.command-not-found',
    'runc create failed: unable to start container process: exec: \\"nope\\": executable file not found in $PATH',
  ],
  ['container.command-not-found', 'exec: \\"/nope\\": stat /nope: no such file or directory'],
  ['container.command-not-executable', 'open executable: Permission denied'],
  ['container.command-not-executable', 'open executable: Operation not permitted'],
  ['container.command-not-executable', 'open executable: Not a directory'],
  ['container.command-not-executable', 'exec container process `/bad`: Exec format error'],
  ['container.command-not-executable', 'exec: \\"/etc\\": permission denied'],
  ['container.start-failed', 'open `/run/netns/gone`: No such file or directory'],
  ['container.start-failed', "error stat'ing file `/gone`: No such file or directory"],
  ['container.start-failed', 'creating cgroup directory `/sys/fs/cgroup/x`: Permission denied'],
  ['container.start-failed', 'namespace path: lstat /run/netns/gone: no such file or directory'],
  [
    'container.start-failed',
    'error mounting \\"/gone\\" to rootfs at \\"/etc/hosts\\": stat /gone: no such file or directory',
  ],
])('%s: %s', (code, message) => {
  expect(startFailure('crun', message)).toMatchObject({ code })
})
