import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// Addresses are relative, so that the page works behind any path; the server answers /api beside it.
export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    outDir: '../src/semascope/server/static',
    emptyOutDir: true,
    // Nothing inline: the server's content security policy allows only files of its own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: { proxy: { '/api': 'http://127.0.0.1:8000' } },
})
