import { expect, test } from 'vitest'
import { runAny } from '#worker/host/run.ts'
import { apparmorProfile } from './apparmor-profile.ts'

/** The kernel of these machines has no AppArmor: that its own compiler takes the profile is what can be shown. Needs apparmor. */
const compiled = (text: string) =>
  runAny('apparmor_parser', ['--skip-kernel-load', '--skip-cache', '--names'], { input: text })

test('the profile compiles, under its name', async () => {
  expect(await compiled(apparmorProfile())).toMatchObject({ exitCode: 0, stdout: 'slipway-default\n' })
})

test('what is wrong would not', async () => {
  expect((await compiled(apparmorProfile().replace('network,', 'networks,'))).exitCode).not.toBe(0)
})
