import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { Layout } from '#infra/local/layout.ts'

/** Everything on this machine that bears an instance's mark, as readable lines; empty when nothing was left. */
export function leftoversOf(layout: Layout): string[] {
  return [...mounts(layout), ...links(layout), ...tables(layout), ...cgroups(layout), ...processes(layout)]
}

function mounts(layout: Layout): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter(line => line.includes(layout.dataFolder) || line.includes(`${layout.runFolder}/`))
    .map(line => `mount ${line}`)
}

function links(layout: Layout): string[] {
  const bridge = `slw-${layout.instance}`
  const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : []
  const ours = namespaces.filter(name => name.startsWith(`${bridge}-`)).map(name => `namespace ${name}`)
  if (!existsSync(`/sys/class/net/${bridge}`)) return ours
  return [...ours, `bridge ${bridge}`, ...readdirSync(`/sys/class/net/${bridge}/brif`).map(link => `link ${link}`)]
}

function tables(layout: Layout): string[] {
  const all = execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' }).split('\n')
  return all.filter(line => line.endsWith(` slipway_${layout.instance}`))
}

function cgroups(layout: Layout): string[] {
  const roots = ['/sys/fs/cgroup', ...controllerFolders()]
  return roots.map(root => `${root}/slipway-${layout.instance}`).filter(folder => existsSync(folder))
}

function controllerFolders(): string[] {
  return readdirSync('/sys/fs/cgroup', { withFileTypes: true })
    .filter(entry => entry.isDirectory())
    .map(entry => `/sys/fs/cgroup/${entry.name}`)
}

function processes(layout: Layout): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(pid => ({ pid, line: commandLine(pid) }))
    .filter(({ line }) => line.includes(layout.dataFolder) || line.includes(`${layout.runFolder}/`))
    .map(({ pid, line }) => `process ${pid} ${line}`)
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return '' // It ended meanwhile.
  }
}
