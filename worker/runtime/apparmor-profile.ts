import { hasApparmor } from '#worker/host/own-limits.ts'
import { run } from '#worker/host/run.ts'

export const APPARMOR_PROFILE = 'slipway-default'

/** What no container writes, whatever is mounted where, and what none reads (as `isolation.ts` masks it). */
const NOT_WRITTEN = [
  '/proc/sys/**',
  '/proc/irq/**',
  '/proc/bus/**',
  '/sys/kernel/**',
  '/sys/module/**',
  '/sys/power/**',
]
const NOT_TOUCHED = [
  ...['/proc/sysrq-trigger', '/proc/kcore', '/proc/kmem', '/proc/mem', '/proc/acpi/**'],
  ...['/sys/firmware/**', '/sys/kernel/security/**', '/sys/devices/virtual/powercap/**'],
]

/**
 * The default profile of containers on hosts with AppArmor (apparmor.d(5)): everything but mounts, what is the kernel's own in /proc and
 * /sys, and other processes than its container's. A second line behind capabilities, seccomp and masked paths. Pure.
 */
export function apparmorProfile(name = APPARMOR_PROFILE): string {
  const lines = [
    ...['network,', 'capability,', 'file,', 'umount,', 'deny mount,', 'deny pivot_root,'],
    // The runtime, the monitor and the agent are unconfined.
    ...['signal (receive) peer=unconfined,', `signal (send, receive) peer=${name},`],
    `ptrace (trace, read, tracedby, readby) peer=${name},`,
    ...NOT_WRITTEN.map(path => `deny ${path} wkl,`),
    ...NOT_TOUCHED.map(path => `deny ${path} rwkl,`),
  ]
  return `profile ${name} flags=(attach_disconnected, mediate_deleted) {\n${lines.map(line => `  ${line}\n`).join('')}}\n`
}

/** Loads it in place of an earlier one, and returns its name; undefined where the host has no AppArmor. Errors: `host.command-failed`. */
export async function loadApparmorProfile(): Promise<string | undefined> {
  if (!hasApparmor()) return undefined
  await run('apparmor_parser', ['--replace', '--skip-cache'], { input: apparmorProfile() })
  return APPARMOR_PROFILE
}
